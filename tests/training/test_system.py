import torch

from hidemia.training.channel import Reach, to_uint8, transmit


def test_trip_step_by_step(tiny_system, shake) -> None:
    system = shake(tiny_system(), std=0.05).eval()
    secret, cover = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        trip = system(secret, cover)
        stego = transmit(system.hider.hide(secret, cover))
        reply = transmit(system.analyzer(stego))
        assert torch.equal(trip.stego, stego)
        assert torch.equal(trip.reply, reply)
        assert torch.equal(trip.reference, system.hider.recover(stego))
        assert torch.equal(trip.recovered, system.hider.recover(reply))
        assert torch.equal(trip.logits, system.head(trip.recovered, trip.reference))
    assert not torch.equal(stego, cover)
    assert not torch.equal(reply, stego)


def test_under_a_veil_a_reply_reaches_no_further(tiny_system, shake) -> None:
    system = shake(tiny_system(), std=0.3).eval()
    secret, cover = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        free = system(secret, cover)
        system.reach = Reach(2, "blue")
        held = system(secret, cover)
    apart = (to_uint8(held.reply).int() - to_uint8(held.stego).int()).abs()
    assert apart[:, :2].max() == 0
    assert (to_uint8(free.reply).int() - to_uint8(free.stego).int()).abs().max() > 4  # there is something to hold
    assert apart.max() == 2
    near = (to_uint8(free.reply).int() - to_uint8(free.stego).int()).abs() < 2
    near[:, :2] = False
    assert near.any()
    assert torch.equal(held.reply[near], free.reply[near])
    assert torch.equal(held.recovered, system.hider.recover(held.reply))


def test_both_photos_have_eight_bits(tiny_system, shake) -> None:
    trip = shake(tiny_system(), std=0.05)(*torch.rand(2, 1, 3, 32, 32))
    for photo in (trip.stego, trip.reply):
        assert torch.equal(photo, to_uint8(photo).float() / 255)


def test_fresh_system_changes_nothing(tiny_system) -> None:
    cover = torch.randint(256, (1, 3, 32, 32)) / 255
    trip = tiny_system()(torch.rand(1, 3, 32, 32), cover)
    assert torch.equal(trip.stego, cover)
    assert torch.equal(trip.reply, cover)
    assert trip.logits.unique().tolist() == [-1]


def test_same_input_same_output(tiny_system, shake) -> None:
    system = shake(tiny_system(), std=0.05).eval()
    secret, cover = torch.rand(2, 1, 3, 32, 32)
    first, second = system(secret, cover), system(secret, cover)
    assert torch.equal(first.logits, second.logits)


def test_parameters_lie_in_three_parts(tiny_system) -> None:
    assert {name.split(".")[0] for name in tiny_system().state_dict()} == {"hider", "analyzer"}
