//! Holds what is more than fifty: the next version of `holds_above_100`, with one number changed.

crossdock_test_guests::holds_above!(50);
