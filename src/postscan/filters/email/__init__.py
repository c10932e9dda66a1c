"""The published e-mail filter: the documents of a job as attachments of messages, submitted over SMTP."""
