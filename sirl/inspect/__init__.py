"""Inspect AI: its log of a run of ours (`log`), and our attacks as its tasks (`task`).

Both need the extra `inspect`, so neither is imported before it is asked for. This room knows Inspect's forms
and nothing of models: in a task Inspect asks the model, and a log is made from records on disk.
"""
