#pragma once

namespace onecopy {

// Closes a file that came from somebody who is not trusted. Closing a file of FUSE waits for whoever serves it, for ever if he
// likes: whatever may be one is closed by threads for which nobody waits, everything else at once.
void CloseElsewhere(int descriptor);

}  // namespace onecopy
