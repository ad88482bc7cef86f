"""What is decided: schedules, their proof and their checks."""
