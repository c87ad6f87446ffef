//! One module per phase; `capacity` and `stay` are parts of the steps of Progressing and Warm.

mod blue_green;
mod bypass;
mod capacity;
mod fights;
mod handing_over;
mod idle;
mod nothing_left;
mod patience;
mod preparing;
mod progressing;
mod rescue;
mod rolled_back;
mod rolling_back;
mod stay;
mod undo;
