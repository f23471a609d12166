"""Figures that two notebooks or a user need: style, landscapes, maps, numbers, films, live (widgets)."""
