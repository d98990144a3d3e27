"""How requests are paced and sent."""
