"""The models, their exports, their images and their reference answers."""
