//! Request-response in three shapes: a call, and the two that iceoryx2's benchmark has, by two services each.

use std::mem::MaybeUninit;

use iceoryx2::active_request::ActiveRequest;
use iceoryx2::node::Node;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::server::Server;
use iceoryx2::request_mut_uninit::RequestMutUninit;
use iceoryx2::response_mut_uninit::ResponseMutUninit;
use iceoryx2::service::port_factory::request_response::PortFactory;
use ringfence_benches::BenchError;

use super::exchange::{Ipc, Port, Side, no_loan, told};

/// 24 bytes, as all echoes.
type Payload = [u64; 3];
type Asking = Client<Ipc, Payload, (), Payload, ()>;
type Asked = Server<Ipc, Payload, (), Payload, ()>;
type Pending = PendingResponse<Ipc, Payload, (), Payload, ()>;
type Active = ActiveRequest<Ipc, Payload, (), Payload, ()>;
type NextRequest = RequestMutUninit<Ipc, MaybeUninit<Payload>, (), Payload, ()>;
type NextResponse = ResponseMutUninit<Ipc, MaybeUninit<Payload>, ()>;

fn service(
    node: &Node<Ipc>,
    name: &str,
) -> Result<PortFactory<Ipc, Payload, (), Payload, ()>, BenchError> {
    let builder = node.service_builder(&name.try_into().map_err(told)?);
    let builder = builder.request_response::<Payload, Payload>().max_servers(1).max_clients(1);
    builder.max_response_buffer_size(1).open_or_create().map_err(told)
}

fn asking(node: &Node<Ipc>, name: &str) -> Result<Asking, BenchError> {
    service(node, name)?.client_builder().create().map_err(told)
}

fn asked(node: &Node<Ipc>, name: &str) -> Result<Asked, BenchError> {
    service(node, name)?.server_builder().create().map_err(told)
}

/// Asks, and waits for the response.
pub(super) struct Caller {
    next: Option<NextRequest>,
    pending: Option<Pending>,
    client: Asking,
}

impl Port<3> for Caller {
    fn open(node: &Node<Ipc>, _side: Side) -> Result<Self, BenchError> {
        Ok(Self { next: None, pending: None, client: asking(node, "call")? })
    }

    #[inline]
    fn loan(&mut self) -> Result<(), BenchError> {
        self.next = Some(self.client.loan_uninit().map_err(told)?);
        Ok(())
    }

    #[inline]
    fn send(&mut self, payload: Payload) -> Result<(), BenchError> {
        let request = self.next.take().ok_or_else(no_loan)?;
        self.pending = Some(request.write_payload(payload).send().map_err(told)?);
        Ok(())
    }

    #[inline]
    fn look(&mut self) -> Result<Option<Payload>, BenchError> {
        let Some(pending) = &self.pending else { return Ok(None) };
        let response = pending.receive().map_err(told)?.map(|response| *response);
        if response.is_some() {
            self.pending = None;
        }
        Ok(response)
    }
}

/// Is asked, and responds. A response is loaned from its request, so never in advance.
pub(super) struct Callee {
    active: Option<Active>,
    server: Asked,
}

impl Port<3> for Callee {
    fn open(node: &Node<Ipc>, _side: Side) -> Result<Self, BenchError> {
        Ok(Self { active: None, server: asked(node, "call")? })
    }

    fn loan(&mut self) -> Result<(), BenchError> {
        Ok(())
    }

    #[inline]
    fn send(&mut self, payload: Payload) -> Result<(), BenchError> {
        let active = self.active.take().ok_or_else(no_loan)?;
        active.loan_uninit().map_err(told)?.write_payload(payload).send().map_err(told)
    }

    #[inline]
    fn look(&mut self) -> Result<Option<Payload>, BenchError> {
        self.active = self.server.receive().map_err(told)?;
        Ok(self.active.as_deref().copied())
    }
}

/// A request there and one back; nobody responds.
pub(super) struct Unanswered {
    next: Option<NextRequest>,
    client: Asking,
    server: Asked,
}

impl Port<3> for Unanswered {
    fn open(node: &Node<Ipc>, side: Side) -> Result<Self, BenchError> {
        let [out, back] = side.services();
        Ok(Self { next: None, client: asking(node, out)?, server: asked(node, back)? })
    }

    #[inline]
    fn loan(&mut self) -> Result<(), BenchError> {
        self.next = Some(self.client.loan_uninit().map_err(told)?);
        Ok(())
    }

    #[inline]
    fn send(&mut self, payload: Payload) -> Result<(), BenchError> {
        let request = self.next.take().ok_or_else(no_loan)?;
        request.write_payload(payload).send().map(drop).map_err(told)
    }

    #[inline]
    fn look(&mut self) -> Result<Option<Payload>, BenchError> {
        Ok(self.server.receive().map_err(told)?.map(|request| *request))
    }
}

/// A response there and one back, each to the one request that the other side opened with.
pub(super) struct Responses {
    next: Option<NextResponse>,
    active: Option<Active>,
    pending: Option<Pending>,
    client: Asking,
    server: Asked,
}

impl Responses {
    /// The other side's request, once there is a side to have sent it.
    #[cold]
    fn open_stream(&mut self) -> Result<(), BenchError> {
        self.pending = Some(self.client.send_copy([0; 3]).map_err(told)?);
        while self.active.is_none() {
            self.active = self.server.receive().map_err(told)?;
        }
        Ok(())
    }
}

impl Port<3> for Responses {
    fn open(node: &Node<Ipc>, side: Side) -> Result<Self, BenchError> {
        let [out, back] = side.services();
        let (client, server) = (asking(node, out)?, asked(node, back)?);
        Ok(Self { next: None, active: None, pending: None, client, server })
    }

    #[inline]
    fn loan(&mut self) -> Result<(), BenchError> {
        if self.active.is_none() {
            self.open_stream()?;
        }
        let active = self.active.as_ref().ok_or_else(no_loan)?;
        self.next = Some(active.loan_uninit().map_err(told)?);
        Ok(())
    }

    #[inline]
    fn send(&mut self, payload: Payload) -> Result<(), BenchError> {
        let response = self.next.take().ok_or_else(no_loan)?;
        response.write_payload(payload).send().map_err(told)
    }

    #[inline]
    fn look(&mut self) -> Result<Option<Payload>, BenchError> {
        let Some(pending) = &self.pending else { return Ok(None) };
        Ok(pending.receive().map_err(told)?.map(|response| *response))
    }
}
