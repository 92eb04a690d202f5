//! A message there and one back, by two services.

use std::mem::MaybeUninit;

use iceoryx2::node::Node;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::sample_mut_uninit::SampleMutUninit;
use ringfence_benches::BenchError;

use super::exchange::{Ipc, Port, Side, no_loan, told};

pub(super) struct Messages<const N: usize> {
    next: Option<SampleMutUninit<Ipc, MaybeUninit<[u64; N]>, ()>>,
    out: Publisher<Ipc, [u64; N], ()>,
    back: Subscriber<Ipc, [u64; N], ()>,
}

impl<const N: usize> Port<N> for Messages<N> {
    fn open(node: &Node<Ipc>, side: Side) -> Result<Self, BenchError> {
        let service = |name: &str| {
            let builder = node.service_builder(&name.try_into().map_err(told)?);
            let builder = builder.publish_subscribe::<[u64; N]>();
            let builder = builder.max_publishers(1).max_subscribers(1).history_size(0);
            let builder = builder.subscriber_max_buffer_size(1).enable_safe_overflow(true);
            builder.open_or_create().map_err(told)
        };
        let [out, back] = side.services();
        let out = service(out)?.publisher_builder().create().map_err(told)?;
        let back = service(back)?.subscriber_builder().create().map_err(told)?;
        Ok(Self { next: None, out, back })
    }

    #[inline]
    fn loan(&mut self) -> Result<(), BenchError> {
        self.next = Some(self.out.loan_uninit().map_err(told)?);
        Ok(())
    }

    #[inline]
    fn send(&mut self, payload: [u64; N]) -> Result<(), BenchError> {
        let sample = self.next.take().ok_or_else(no_loan)?;
        sample.write_payload(payload).send().map(drop).map_err(told)
    }

    #[inline]
    fn look(&mut self) -> Result<Option<[u64; N]>, BenchError> {
        Ok(self.back.receive().map_err(told)?.map(|sample| *sample))
    }
}
