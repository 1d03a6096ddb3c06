"""Reading a bundle in either form, a folder or one ZIP archive, and writing the archive."""
