//! The end of updates: what is under way comes to an end by itself, and then every device that is
//! flashed gets its file, while it goes on publishing.

use std::time::Duration;

use model::UpdateState;
use rand::RngExt;

use super::World;
use super::exam::{SETTLING, UPDATE_IDLE};
use crate::device::{Acknowledgement, UpdateFault};

impl World {
    /// What was wanted when all became well is done, or given up with a reason.
    pub(super) fn end_updates(&mut self) -> Result<(), String> {
        if !self.plan.mood.updates {
            return Ok(());
        }
        self.judge.updates_work();
        let are_over = self.run_until(ENDING, |world| {
            world.call_off_parked();
            world.updates.are_over()
        })?;
        if !are_over {
            return Err(format!("after {ENDING:?} still updating: {:?}", self.updates.devices()));
        }
        self.run(SETTLING)?;
        self.all_come_back()
    }

    /// Some devices are flashed, whatever their application says of it.
    pub(super) fn examine_updates(&mut self) -> Result<(), String> {
        if !self.plan.mood.updates {
            return Ok(());
        }
        self.note(|_| "examination of updates".into());
        let flashed = self.flash_some()?;
        self.publish_meanwhile(&flashed)?;
        let are_over = self.run_until(GETTING_IT, |world| world.updates.are_over())?;
        for index in flashed {
            let end = self.judge.update_end(index);
            if !are_over || end != Some(&UpdateState::Succeeded) {
                return Err(format!("device {index} is flashed in good times: {end:?}"));
            }
        }
        self.end_forgotten_transfers()?;
        self.run(SETTLING)?;
        self.all_come_back()
    }

    /// A device that was away when its update was called off, or that did not hear of it, waits for the
    /// next chunk for 300 s, and then drops its connection by itself (`reliability.md`, OTA v3: no chunk).
    /// What it is asked and sent at that moment is no sign of a fault.
    fn end_forgotten_transfers(&mut self) -> Result<(), String> {
        let are_over = self.run_until(UPDATE_IDLE, |world| {
            world.fleet.iter().all(|placed| !placed.device.is_updating())
        })?;
        if are_over {
            return Ok(());
        }
        let updating =
            (0..self.fleet.len()).filter(|index| self.fleet[*index].device.is_updating());
        let updating: Vec<usize> = updating.collect();
        Err(format!("after {UPDATE_IDLE:?} in the middle of a transfer of no update: {updating:?}"))
    }

    fn flash_some(&mut self) -> Result<Vec<usize>, String> {
        let count = self.fleet.len();
        let first = self.random.random_range(0..count);
        let chosen = (0..count).step_by(EVERY).take(FLASHED_MAX);
        let chosen: Vec<usize> = chosen.map(|offset| (first + offset) % count).collect();
        for index in &chosen {
            self.with(*index, |device, _| device.set_update_fault(UpdateFault::None));
            let file = self.random.random_range(0..self.updates.files());
            if !self.flash(*index, file, true) {
                return Err(format!("device {index} is not flashed though it is there"));
            }
        }
        Ok(chosen)
    }

    /// Publishes of devices in the middle of a transfer are taken like others.
    fn publish_meanwhile(&mut self, flashed: &[usize]) -> Result<(), String> {
        let mut published = Vec::new();
        for index in flashed {
            self.run_until(BEGINNING, |world| {
                let is_updating = world.fleet[*index].device.is_updating();
                is_updating || world.updates.is_over(*index)
            })?;
            if self.fleet[*index].device.is_updating() && self.fleet[*index].plan.account.is_some()
            {
                published.extend(self.publish(*index, "other", Acknowledgement::Default));
            }
        }
        self.run(DURABLE)?;
        match published.into_iter().find(|serial| !self.judge.is_durable(*serial)) {
            Some(serial) => Err(format!("p{serial} is not durable, made during an update")),
            None => Ok(()),
        }
    }
}

/// An update under way may have five fruitless attempts before it, and a device that believes in
/// another one.
const ENDING: Duration = Duration::from_secs(1800);
const GETTING_IT: Duration = Duration::from_secs(300);
/// Until it began: the device is asked first what it consists of.
const BEGINNING: Duration = Duration::from_secs(45);
const DURABLE: Duration = Duration::from_secs(2);
/// Every so many devices one is flashed, up to so many.
const EVERY: usize = 3;
const FLASHED_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Size;
    use crate::world::faults::Weather;

    #[test]
    fn a_device_in_the_middle_of_an_update_called_off_gives_it_up_before_the_examination() {
        let mut world = World::new(SMALL_WITH_UPDATES, Size::Small);
        world.is_troubled = false;
        world.judge.made_with(world.updates.first_file());
        world.judge.starts();
        world.all_come_back().expect("all connect");
        leave_in_the_middle_of_an_update(&mut world, NOT_FLASHED_AGAIN);
        world.run(SETTLING).expect("nothing is wrong");
        assert!(world.fleet[NOT_FLASHED_AGAIN].device.is_updating(), "it was not told");

        world.examine_updates().expect("the others get their files");
        assert!(!world.fleet[NOT_FLASHED_AGAIN].device.is_updating());
        world.examine().expect("it works");
    }

    /// What tells the device that its update is called off is lost.
    fn leave_in_the_middle_of_an_update(world: &mut World, index: usize) {
        assert!(world.flash(index, 1, true));
        let is_begun = world.run_until(BEGINNING, |world| world.fleet[index].device.is_updating());
        assert_eq!(is_begun, Ok(true));
        world.set_weather(Weather::Dead);
        world.call_off(index);
        world.run(DURABLE).expect("nothing is wrong");
        world.set_weather(Weather::Clear);
    }

    const SMALL_WITH_UPDATES: u64 = 2;
    /// It takes updates of version 3.
    const NOT_FLASHED_AGAIN: usize = 1;
}
