//! The messages between spoacme-agent and its clients, and the client.
