//! rtrb: a ring between two threads.

use anyhow::Result;

use crate::measure::{Plan, content};
use crate::way::{BatchReceiver, BatchSender, Once, TryPop, TryPush, ValueReceiver, ValueSender, Way};

pub(crate) struct Rtrb<const N: usize> {
    sender: Once<ValueSender<rtrb::Producer<[u64; N]>, N>>,
    receiver: Once<ValueReceiver<rtrb::Consumer<[u64; N]>, N>>,
}

impl<const N: usize> Way for Rtrb<N> {
    type Sender = ValueSender<rtrb::Producer<[u64; N]>, N>;
    type Receiver = ValueReceiver<rtrb::Consumer<[u64; N]>, N>;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let (producer, consumer) = rtrb::RingBuffer::new(plan.capacity);
        let sender = Once::new(ValueSender::new(plan, producer));
        Ok(Self { sender, receiver: Once::new(ValueReceiver::new(plan, consumer)) })
    }

    fn sender(&self) -> Result<Self::Sender> {
        self.sender.take()
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        self.receiver.take()
    }
}

impl<T: Copy> TryPush<T> for rtrb::Producer<T> {
    #[inline(always)]
    fn try_push(&mut self, value: T) -> bool {
        self.push(value).is_ok()
    }
}

impl<T> TryPop<T> for rtrb::Consumer<T> {
    #[inline(always)]
    fn try_pop(&mut self) -> Option<T> {
        self.pop().ok()
    }
}

impl<const N: usize> BatchSender for ValueSender<rtrb::Producer<[u64; N]>, N> {
    #[inline(always)]
    fn send_batch(&mut self, first: u64, count: usize) -> Result<()> {
        let mut sent = 0;
        while sent < count {
            let room = self.queue.slots().min(count - sent);
            if room == 0 {
                self.wait.pause();
                continue;
            }
            // In place, as the crate's documentation has it for many items.
            let chunk = self.queue.write_chunk_uninit(room)?;
            let numbers = first + sent as u64..;
            let damage = self.damage;
            sent += chunk.fill_from_iter(numbers.take(room).map(|number| content::message(number, damage)));
        }
        Ok(())
    }
}

impl<const N: usize> BatchReceiver for ValueReceiver<rtrb::Consumer<[u64; N]>, N> {
    #[inline(always)]
    fn receive_batch(&mut self, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        loop {
            let there = self.queue.slots().min(self.batch);
            if there > 0 {
                let chunk = self.queue.read_chunk(there)?;
                let (first, second) = chunk.as_slices();
                for message in first.iter().chain(second) {
                    each(content::check(bytemuck::bytes_of(message))?)?;
                }
                chunk.commit_all();
                return Ok(());
            }
            self.wait.pause();
        }
    }
}
