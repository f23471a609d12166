"""What a single notebook needs, a module for each; nothing else imports it."""
