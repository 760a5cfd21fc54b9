//! How fast gossip spreads, and what it costs.
