"""Ways to write a report down: Markdown, HTML, LaTeX, and its data as CSV and JSON."""
