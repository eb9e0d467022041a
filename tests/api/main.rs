//! The library as its users see it. One binary, so that it links once.

mod architecture;
mod concurrency;
mod damage;
mod kill;
mod model;
#[cfg(feature = "encoder")]
mod text;
mod verbs;
