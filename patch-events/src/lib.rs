//! The events of patching, of the hub and of its guests, each declared once.
