//! Pages of bookings: the calendar with its form, the lists, one booking, its output and its terminal.
mod ask;
pub mod calendar;
mod chart;
pub mod list;
mod log;
pub mod show;
pub mod terminal;
pub mod words;

use rocket::{Route, routes};

pub fn routes() -> Vec<Route> {
    routes![
        calendar::page,
        calendar::quote,
        calendar::submit,
        list::page,
        list::queue,
        show::page,
        show::extend,
        show::release,
        show::cancel,
        log::follow,
        log::download,
        terminal::page,
        terminal::ticket,
        terminal::socket,
    ]
}
