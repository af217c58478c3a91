"""Texts of others in formats that would act on them. HTML has jinja's autoescape, the terminal `rich.markup.escape`."""
