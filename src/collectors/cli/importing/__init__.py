"""``collectors import``: files of other people's making become events."""
