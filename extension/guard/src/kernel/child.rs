use crate::launch::Plan;
use crate::sys::Errno;
#[derive(Debug)]
pub struct Child { pub pid: u32 }
impl Child {
    pub fn start(_: &Plan) -> Result<Self, Errno> { Err(Errno(libc::ENOSYS)) }
    pub fn abandon(self) {}
    pub fn run_unguarded(self) -> i32 { 1 }
}
