mod client;
mod faults;
mod fuzz;
mod hostile;
mod rooms;
mod server;
mod webhook;
