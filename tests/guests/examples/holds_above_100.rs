//! Holds what is more than a hundred, and goes ahead with the rest.

crossdock_test_guests::holds_above!(100);
