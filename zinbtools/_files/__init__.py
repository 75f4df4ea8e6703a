"""Files and folders: written whole or not at all, swept up afterwards, opened with care."""
