"""What the service does by itself: idle sessions, retention, counts that are folded, answers that are forgotten."""
