//! The state machine against a scripted world, rule by rule, and against histories that a seed makes up.

mod assess;
mod author;
mod branches;
mod children;
mod control;
mod generated;
mod given;
mod inputs;
mod large;
mod late;
mod linear;
mod moving;
mod old;
mod pages;
mod people;
mod reference;
mod render;
mod tables;
mod versions;
mod ways;
mod world;
