"""What several tests share: the real server as a subprocess."""
