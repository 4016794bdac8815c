"""The report: one page in one file that shows what runs were trained on, how, and how well they translate."""
