"""Ticket office: what was asked for, in any spelling, becomes a frozen plan and its cases."""
