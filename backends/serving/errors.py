"""The ways in which no server comes up. Every message is one sentence for the user and says what to do.

ServingError
+ ConfigError              a configuration file that does not say what to start
+ PortInUseError           somebody else listens there
+ ServerStartError         the process died, or did not answer in time
+ ServerUnavailableError   a server that was to be there is not
+ DemoModelError           the demonstration model could not be made
"""


class ServingError(Exception):
    """A local server, or something that it needs, is not to be had."""


class ConfigError(ServingError, ValueError):
    """A server's YAML file is wrong; the message names the file and the field."""


class PortInUseError(ServingError):
    """Another process listens on the port that a server was to have."""


class ServerStartError(ServingError):
    """A server died while starting, or did not answer in time."""


class ServerUnavailableError(ServingError):
    """A server that somebody else runs does not answer as one should."""


class DemoModelError(ServingError):
    """The demonstration model could not be downloaded or converted."""
