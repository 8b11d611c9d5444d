"""What a report finds besides the numbers of its rows: classes, published figures, next steps, how to repeat it."""
