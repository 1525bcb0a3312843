"""A modem that mmsd-tng takes for connected, and the way in to mmsd-tng itself, on one private bus.

On the bus it is ModemManager with one modem, SIM and bearer; the bearer is the interface lo, whose name server is the
second argument. Over standard input and output it speaks JSON, an object a line: requests {"id", "do", ...} are answered
{"id", "result"} or {"id", "error"}; what mmsd-tng tells comes as {"event", ...}.

    modem.py NUMBER DNS IMSI
"""
import json
import os
import sys

import dbus
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

PROPERTIES = "org.freedesktop.DBus.Properties"
MANAGER = "org.freedesktop.ModemManager1"
TOP = "/org/freedesktop/ModemManager1"
MMS, MMS_PATH = "org.ofono.mms", "/org/ofono/mms"
MODEM, SIM, BEARER = TOP + "/Modem/0", TOP + "/SIM/0", TOP + "/Bearer/0"

UINT, PATH = dbus.UInt32, dbus.ObjectPath


def array(signature, *values):
    return dbus.Array(values, signature=signature)


def described(number, dns, imsi):
    """All properties by object and interface, as ModemManager 1.20 has them."""
    modem = {
        "State": dbus.Int32(11),  # connected
        "StateFailedReason": UINT(0), "PowerState": UINT(3), "UnlockRequired": UINT(1),
        "Sim": PATH(SIM), "SimSlots": array("o"), "PrimarySimSlot": UINT(0),
        "Bearers": array("o", PATH(BEARER)), "MaxBearers": UINT(1), "MaxActiveBearers": UINT(1),
        "CurrentCapabilities": UINT(4), "SupportedCapabilities": array("u", UINT(4)), "SupportedIpFamilies": UINT(1),
        "Manufacturer": "mmsrouter", "Model": "test", "Revision": "1", "Device": "/test", "DeviceIdentifier": "test", "Plugin": "test",
        "Drivers": array("s", "test"), "PrimaryPort": "lo", "EquipmentIdentifier": "1",
        "Ports": array("(su)", dbus.Struct(("lo", UINT(2)), signature="su")),
        "OwnNumbers": array("s", number), "AccessTechnologies": UINT(1 << 14),
        "SignalQuality": dbus.Struct((UINT(80), True), signature="ub"), "UnlockRetries": dbus.Dictionary({}, signature="uu"),
    }
    network = {"Imei": "1", "RegistrationState": UINT(1), "OperatorCode": imsi[:5], "OperatorName": "test", "EnabledFacilityLocks": UINT(0)}
    messaging = {"Messages": array("o"), "SupportedStorages": array("u", UINT(2)), "DefaultStorage": UINT(2)}
    sim = {"Active": True, "SimIdentifier": "1", "Imsi": imsi, "Eid": "", "OperatorIdentifier": imsi[:5], "OperatorName": "test",
           "EmergencyNumbers": array("s")}
    bearer = {
        "Interface": "lo", "Connected": True, "Suspended": False, "Multiplexed": False, "IpTimeout": UINT(20), "BearerType": UINT(1),
        "ReloadStatsSupported": False, "Stats": dbus.Dictionary({}, signature="sv"),
        "Properties": dbus.Dictionary({"apn": "mms"}, signature="sv"),
        "Ip4Config": dbus.Dictionary({"method": UINT(2), "address": "127.0.0.1", "prefix": UINT(8), "dns1": dns}, signature="sv"),
        "Ip6Config": dbus.Dictionary({"method": UINT(0)}, signature="sv"),
    }
    return {
        MODEM: {MANAGER + ".Modem": modem, MANAGER + ".Modem.Modem3gpp": network, MANAGER + ".Modem.Messaging": messaging},
        SIM: {MANAGER + ".Sim": sim},
        BEARER: {MANAGER + ".Bearer": bearer},
    }


class Node(dbus.service.Object):
    """One object of the modem."""

    def __init__(self, bus, path, interfaces):
        self.interfaces = interfaces
        super().__init__(bus, path)

    @dbus.service.method(PROPERTIES, in_signature="ss", out_signature="v")
    def Get(self, interface, name):
        return self.interfaces[interface][name]

    @dbus.service.method(PROPERTIES, in_signature="s", out_signature="a{sv}")
    def GetAll(self, interface):
        return self.interfaces.get(interface, {})

    @dbus.service.method(MANAGER + ".Modem.Messaging", out_signature="ao")
    def List(self):
        return array("o")

    @dbus.service.method(MANAGER + ".Modem", out_signature="ao")
    def ListBearers(self):
        return array("o", PATH(BEARER))


class Manager(dbus.service.Object):
    """The object that tells which modems there are."""

    def __init__(self, bus, tree):
        self.tree = tree
        super().__init__(bus, TOP)

    @dbus.service.method("org.freedesktop.DBus.ObjectManager", out_signature="a{oa{sa{sv}}}")
    def GetManagedObjects(self):
        return dbus.Dictionary({PATH(MODEM): self.tree[MODEM]}, signature="oa{sa{sv}}")

    @dbus.service.method(PROPERTIES, in_signature="s", out_signature="a{sv}")
    def GetAll(self, interface):
        return {"Version": "1.20"} if interface == MANAGER else {}


def plain(value):
    """What D-Bus gave, as JSON can say it."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dbus.Boolean):
        return bool(value)
    return int(value) if isinstance(value, int) else str(value)


def say(**what):
    print(json.dumps(what), flush=True)


class Bridge:
    """Requests from standard input to mmsd-tng, and its signals to standard output. Nothing here blocks: mmsd-tng asks the
    modem while it serves us."""

    def __init__(self, bus, loop):
        self.bus, self.loop, self.rest = bus, loop, b""
        bus.watch_name_owner(MMS, self.owner)
        bus.add_signal_receiver(self.added, "MessageAdded", MMS + ".Service")
        bus.add_signal_receiver(self.changed, "PropertyChanged", MMS + ".Message", path_keyword="path")
        bus.add_signal_receiver(self.service, "ServiceAdded", MMS + ".Manager")
        bus.add_signal_receiver(lambda path: say(event="removed", path=str(path)), "MessageRemoved", MMS + ".Service")
        GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_IN | GLib.IO_HUP, self.read)

    def owner(self, name):
        if name:
            self.call("Manager", MMS_PATH, "GetServices", (), lambda found: [self.service(*s) for s in found], lambda _: None)

    def service(self, path, _properties):
        say(event="service", path=str(path))

    def added(self, path, properties):
        say(event="message", path=str(path), properties=plain(properties))

    def changed(self, name, value, path):
        say(event="changed", path=str(path), name=str(name), value=plain(value))

    def call(self, interface, path, method, args, good, bad):
        target = dbus.Interface(self.bus.get_object(MMS, path, introspect=False), MMS + "." + interface)
        target.get_dbus_method(method)(*args, reply_handler=good, error_handler=bad, timeout=30)

    def read(self, fd, condition):
        data = os.read(fd, 1 << 16) if condition & GLib.IO_IN else b""
        if not data:
            self.loop.quit()
            return False
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.request(json.loads(line))
        return True

    def request(self, r):
        number, do = r["id"], r["do"]

        def good(*result):
            say(id=number, result=plain(result[0]) if result else None)

        def bad(error):
            say(id=number, error=str(error))

        if do == "push":
            self.call("ModemManager", MMS_PATH, "PushNotify", (dbus.ByteArray(bytes.fromhex(r["push"])),), good, bad)
        elif do == "list":
            self.call("Service", r["service"], "GetMessages", (),
                      lambda found: good([{"path": p, "properties": q} for p, q in found]), bad)
        elif do == "send":
            files = array("(sss)", *[dbus.Struct((f["id"], f["type"], f["file"]), signature="sss") for f in r["files"]])
            options = dbus.Dictionary({"Subject": r["subject"], "DeliveryReport": dbus.Boolean(r["report"])}, signature="sv", variant_level=1)
            self.call("Service", r["service"], "SendMessage", (array("s", *r["to"]), options, files), good, bad)
        else:
            bad("there is no " + do)


def main(number, dns, imsi):
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    bus = dbus.SystemBus()
    tree = described(number, dns, imsi)
    loop = GLib.MainLoop()
    keep = [Node(bus, path, interfaces) for path, interfaces in tree.items()]
    keep += [Manager(bus, tree), dbus.service.BusName(MANAGER, bus), Bridge(bus, loop)]
    say(event="modem")
    loop.run()


main(*sys.argv[1:])
