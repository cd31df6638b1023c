"""Entities of long documents: read, cut into chunks, asked for, grounded in the text, merged, evaluated."""
