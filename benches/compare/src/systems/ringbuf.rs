//! ringbuf: a ring between two threads.

use anyhow::Result;
use ringbuf::traits::{Consumer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use crate::measure::{Plan, content};
use crate::way::{BatchReceiver, BatchSender, Once, TryPop, TryPush, ValueReceiver, ValueSender, Way};

pub(crate) struct Ringbuf<const N: usize> {
    sender: Once<ValueSender<HeapProd<[u64; N]>, N>>,
    receiver: Once<ValueReceiver<HeapCons<[u64; N]>, N>>,
}

impl<const N: usize> Way for Ringbuf<N> {
    type Sender = ValueSender<HeapProd<[u64; N]>, N>;
    type Receiver = ValueReceiver<HeapCons<[u64; N]>, N>;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let (producer, consumer) = HeapRb::new(plan.capacity).split();
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

impl<T: Copy> TryPush<T> for HeapProd<T> {
    #[inline(always)]
    fn try_push(&mut self, value: T) -> bool {
        Producer::try_push(self, value).is_ok()
    }
}

impl<T> TryPop<T> for HeapCons<T> {
    #[inline(always)]
    fn try_pop(&mut self) -> Option<T> {
        Consumer::try_pop(self)
    }
}

impl<const N: usize> BatchSender for ValueSender<HeapProd<[u64; N]>, N> {
    #[inline(always)]
    fn send_batch(&mut self, first: u64, count: usize) -> Result<()> {
        let damage = self.damage;
        let mut sent = 0;
        while sent < count {
            let numbers = first + sent as u64..first + count as u64;
            let pushed = self.queue.push_iter(numbers.map(|number| content::message(number, damage)));
            if pushed == 0 {
                self.wait.pause();
            }
            sent += pushed;
        }
        Ok(())
    }
}

impl<const N: usize> BatchReceiver for ValueReceiver<HeapCons<[u64; N]>, N> {
    #[inline(always)]
    fn receive_batch(&mut self, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        loop {
            let (first, second) = self.queue.as_slices();
            let there = first.len() + second.len();
            if there > 0 {
                let count = there.min(self.batch);
                for message in first.iter().chain(second).take(count) {
                    each(content::check(bytemuck::bytes_of(message))?)?;
                }
                self.queue.skip(count);
                return Ok(());
            }
            self.wait.pause();
        }
    }
}
