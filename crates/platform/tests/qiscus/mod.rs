mod client;
mod faults;
mod rooms;
mod server;
mod webhook;
