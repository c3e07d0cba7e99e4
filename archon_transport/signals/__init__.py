"""What the process tells about itself to those who look after it; knows nothing of the other rooms."""
