//! Servers that several drivers run, bare and preloaded.

pub mod mariadb;
pub mod nginx;
