"""What the factory gets and says: the MQTT contract, its delivery, and the broker."""
