//! What `gevent-shim` does and says, as a person at a terminal meets it.

mod doctor;
mod ends;
mod inspect;
mod pages;
mod report;
mod restricted;
mod run;
mod summary;
mod support;
