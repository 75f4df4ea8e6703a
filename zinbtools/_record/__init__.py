"""What a fit leaves in an AnnData: the names of it all, and the one reader."""
