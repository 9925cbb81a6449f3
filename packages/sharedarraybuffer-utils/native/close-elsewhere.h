#pragma once

namespace onecopy {

// Closes a file that came from somebody who is not trusted. Memory is closed at once. Closing a file of FUSE waits for
// whoever serves it, for ever if he likes, so anything else is closed by threads for which nobody waits.
void CloseElsewhere(int descriptor);

}  // namespace onecopy
