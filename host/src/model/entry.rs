//! Journal entries.
