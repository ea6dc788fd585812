"""The explorer itself: the verb, the object that holds the views, and its server."""
