"""From a connection to a decoded request and back: limits, strict decoding, lanes, pages, errors."""
