//! Devices that live in a thread of their own and do what a test asks them.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sim::live::Live;

use super::live::{await_acknowledgement, connect, publish};

/// How long each device lives before the next one and before orders are looked for.
const TURN: Duration = Duration::from_millis(3);

type Order = Box<dyn FnOnce(&mut [Live]) + Send>;

/// Dropping it switches the devices off.
pub struct Operated {
    orders: Option<mpsc::Sender<Order>>,
    running: Option<JoinHandle<()>>,
}

impl Operated {
    /// Switches devices on that were never connected; they go on connecting while this returns.
    pub fn start(mut devices: Vec<Live>) -> Self {
        let (orders, taken) = mpsc::channel::<Order>();
        let running = std::thread::spawn(move || {
            devices.iter_mut().for_each(connect);
            loop {
                match taken.try_recv() {
                    Ok(order) => order(&mut devices),
                    Err(mpsc::TryRecvError::Empty) => {
                        devices.iter_mut().for_each(|live| live.run(TURN));
                    }
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
        });
        Self { orders: Some(orders), running: Some(running) }
    }

    /// Does something with the devices once all of them are connected.
    pub fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut [Live]) -> T + Send + 'static,
    ) -> T {
        let (told, result) = mpsc::channel();
        let order = move |devices: &mut [Live]| drop(told.send(work(devices)));
        self.orders.as_ref().expect("not dropped").send(Box::new(order)).expect("it runs");
        result.recv().expect("the devices did as they were told")
    }

    /// Has the first device publish an event; gives when it was acknowledged.
    pub fn publish(&self, name: &str, data: &str) -> Instant {
        let (name, data) = (name.to_owned(), data.to_owned());
        self.with(move |devices| {
            let number = publish(&mut devices[0], &name, &data);
            await_acknowledgement(&mut devices[0], number);
            Instant::now()
        })
    }
}

impl Drop for Operated {
    fn drop(&mut self) {
        drop(self.orders.take());
        let ended = self.running.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("not dropped").expect("no panic");
        }
    }
}
