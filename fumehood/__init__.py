"""The language of the service: what every part means by a word. Knows neither HTTP nor Docker."""

__version__ = "0.1.0"
