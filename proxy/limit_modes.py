"""Modes that every limit has: short windows, budgets and jobs in flight."""

from __future__ import annotations

from typing import Literal

Mode = Literal["enforce", "observe"]  # "observe" only reports what it would refuse
OnStoreError = Literal["deny", "local", "allow"]  # effect of a limit while its store does not answer
