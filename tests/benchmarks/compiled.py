"""scvi-tools with its module compiled by torch, as the measurement of epochs sees it."""

from functools import partial

import theirs

PACKAGES = theirs.PACKAGES
fit = partial(theirs.fit, compiled=True)
