"""A Sparkplug B edge node for live telemetry and state; only loaded when the line file asks for it."""
