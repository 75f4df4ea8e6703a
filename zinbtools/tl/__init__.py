"""Verbs on an AnnData: tune and fit both models, evaluate them, score genes."""

import lazy_loader

# torch, scanpy and matplotlib are heavy: what __init__.pyi lists is opened when someone asks for it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
