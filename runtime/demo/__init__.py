"""What `hidemia demo` needs when no data is at hand: a simulated scan, a rendered photo, and the picture."""
