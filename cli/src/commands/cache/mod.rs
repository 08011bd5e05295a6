//! `headstart cache`.
